// Package compose turns Compose files, or a lone Dockerfile, into an [api.AppSpec].
//
// It owns the meaning that ikada gives to the Compose Specification: every attribute is honoured, or refused by name,
// or warned of by name, never ignored in silence (see attributes.go, the table of all of them), and so it is with the
// x-ikada extensions of a service. Reading, interpolating, merging, extending and including is compose-go's work; its
// errors come out as [api.Error] that name the field.
//
// It reads files below the project's directory and those that the Compose files name; it never talks to a server,
// starts a process, or keeps state. Safe for concurrent use. Start at [Load].
package compose
