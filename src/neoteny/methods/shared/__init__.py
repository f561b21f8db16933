"""What two or more methods share: bases, clocks, the order in which methods act, and pieces of formulas."""
