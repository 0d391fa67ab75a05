"""Networks behind one small interface: ordered layer names, init, apply from layer i to layer j."""
