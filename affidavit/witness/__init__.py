"""A witness of one's own: an auditor runs it on a machine that the operator cannot touch."""
