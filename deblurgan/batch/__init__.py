"""Very many pictures, on one machine or several: Ray Data hands them out, and a manifest says what became of each."""
