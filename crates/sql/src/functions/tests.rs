//! Tests of the functions, each as a batch query.
