"""What teachers get: self-checks, goals, slides, the student edition."""
