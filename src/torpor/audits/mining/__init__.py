"""Mining: which natural inputs are the expensive ones, why, and a set of them that a build replays."""
