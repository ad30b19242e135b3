"""Write a C++ function, serial or parallel; running it decides."""
