// Package containerd runs containers: it serves containerd inside the ikada program ([Main]), keeps that process alive
// ([Daemon]), makes, watches and removes containers through it ([Runtime], which is the agent's runtime), and gets their
// images ([Images]).
//
// Everything of one instance lies below its data directory and its state directory, and in cgroups of its own: several
// instances and a Docker run side by side on one machine. The package knows nothing of apps, releases or networks; a
// container's network namespace and files are made by the agent.
//
// Three processes matter beside ikada: containerd, one shim a container, and the container. Each outlives those before
// it. Output and exit codes are kept by the shim in files, so that they are known whatever was dead at that moment;
// containerd's events are only a second source. All types are safe for concurrent use. Start at [Daemon] and
// [Runtime.Create].
package containerd
