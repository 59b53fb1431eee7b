//! Holds a pod's namespaces: does nothing, and ends when it is told to.
//! The first process of a container gets no signal that it does not ask for,
//! so who runs pods kills it; nothing is to be put away.

fn main() {
    loop {
        std::thread::park(); // wakes up for no reason, now and then
    }
}
