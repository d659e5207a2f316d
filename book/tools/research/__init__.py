"""Tools of the research behind the book: training the phantom encoders, and the world that methods are chosen in."""
