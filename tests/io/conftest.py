"""Property tests of this room keep no database, so that nothing is left beside the tests."""

from hypothesis import settings

settings.register_profile("io", database=None, deadline=None)
settings.load_profile("io")
