//! Every bad input has a fault with its pointer and code.
