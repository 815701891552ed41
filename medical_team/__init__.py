"""The game: an attacker rewrites a clinical note, an assessor says Safe or Harmful, a judge says what is true."""
