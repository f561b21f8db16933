"""What several methods share: bases, schedules, the order in which methods act, and small pieces of formulas."""
