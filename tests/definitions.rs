//! Definitions from outside: the framework's document, and golden diagnostics.

#[cfg(test)]
mod definitions {
    mod framework;
    mod fuzz;
    mod golden;
    mod graph;
    mod lfs;
    mod shipped;
    mod space;
}
