"""The rules for practice: CL42, CL43, CL46."""
