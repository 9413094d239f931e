"""How fast the whole way is, beside what the client library reads: ``make bench``."""
