"""What rides on a user's optimizer: it lets the rules of `neoteny.methods` act in anybody's training loop."""
