//! Black-box tests: the built program against real parts.

mod hooks;
