"""Whose requests they are: keys, tenants, what each may use, and what each has used."""
