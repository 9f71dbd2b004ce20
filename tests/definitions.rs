//! Definitions from outside: the framework's document, and golden diagnostics.

#[cfg(test)]
mod definitions {
    mod debian;
    mod framework;
    mod golden;
    mod graph;
    mod shipped;
    mod space;
}
