//! Every door of every role, all of them at once with everything on: who is let in, and what broken requests do.

mod broken;
mod fortress;
mod fuzz;
mod malformed;
mod scan;
mod table;
mod wire;
