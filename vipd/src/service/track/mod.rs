//! Tracked objects: their checks, and what these mean for the priority and faults of routers.

mod object;
