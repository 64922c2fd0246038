"""Who carries requests to brands and replies back; the same two functions of a round in each."""
