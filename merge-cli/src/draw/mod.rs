//! What people see: text on a terminal, progress, pictures on a terminal and in SVG.

pub(crate) mod line;
pub(crate) mod measure;
pub(crate) mod picture;
pub(crate) mod screen;
pub(crate) mod view;
