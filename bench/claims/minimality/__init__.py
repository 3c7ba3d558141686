"""Why the conditions are needed: functions outside the class, and saddles inside it."""

METHODS = {"SGD": 0.0, "SHB": 0.9}  # name -> beta
