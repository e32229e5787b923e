//! Single values of MySQL: how they are packed, and how they print.

pub(crate) mod address;
pub(crate) mod decimal;
pub(crate) mod float;
pub(crate) mod geometry;
pub(crate) mod jsonb;
pub(crate) mod temporal;
