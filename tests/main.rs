//! Black-box tests: the built program against real parts.

// As test code, so that it may panic and print.
#[cfg(test)]
mod hooks;
