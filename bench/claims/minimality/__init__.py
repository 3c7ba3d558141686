"""Why the conditions are needed: functions outside the class, and saddles inside it."""
