//! What the tests through the public doors share: real nodes, real agents, a client.
