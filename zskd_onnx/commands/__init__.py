"""The commands, a file each: they parse, call the API and print. No decision is made here."""
