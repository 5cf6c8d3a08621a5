"""The async door; the blocking one is made from it."""
