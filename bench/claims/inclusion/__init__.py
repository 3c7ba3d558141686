"""The differential inclusion behind the iterates: CL19-CL21."""
