"""Each port once more, in memory: the fakes that tests and the simulation run on."""
