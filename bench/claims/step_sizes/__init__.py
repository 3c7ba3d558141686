"""Step-size conditions: CL14-CL18."""
