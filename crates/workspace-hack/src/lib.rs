//! Holds no code: its manifest gives every dependency one set of features (`cargo hakari generate`).
