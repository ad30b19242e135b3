"""Does this OpenMP code have a data race?"""
