//! Control's loop and the handle that the doors hold.
