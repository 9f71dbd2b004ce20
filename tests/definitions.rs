//! Definitions from outside: the framework's document, and golden diagnostics.

#[cfg(test)]
mod definitions {
    mod debian;
    mod framework;
    mod fuzz;
    mod golden;
    mod graph;
    mod lfs;
    mod shipped;
    mod space;
}
