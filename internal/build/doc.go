// Package build makes images from Dockerfiles with an embedded BuildKit on the node's own containerd: what it builds
// lies in the runtime's image store and can be run at once, with no push.
//
// It owns the build cache under its root directory, the cgroup that every RUN step lives in, and the names
// "ikada.local/<app>/<service>" of what it built. It never reads a path of the client: files, secrets, SSH agents and
// registry logins come over the client's session (see the session package for the other end). It never removes an
// image; that is the house-keeper's work.
//
// A [Builder] is safe for concurrent use. BuildKit itself is opened by the first build, closed when its connection to
// containerd has idled for half an hour, and opened anew when containerd was restarted; a build that was running then
// fails with an error of kind Unavailable. Steps that a killed process left behind are removed when it is opened.
// Because BuildKit keeps one pool of registry connections a process, only one open Builder a process resolves base
// images reliably.
//
// Start at [New] and [Builder.Build].
package build
