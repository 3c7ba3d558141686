"""The report: one page that opens offline, figures for papers, a short summary. Pure functions of the store."""
