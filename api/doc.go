// Package api holds the vocabulary of ikada: the specs that users write, the objects that the control plane
// keeps, the states they pass through, the kinds of error, and the validation of all of these.
//
// It imports nothing but the standard library, does no I/O and keeps no state: values are plain data and safe to
// copy and to encode as JSON. Pointers and maps inside a value that came from the store are shared: copy before
// changing. Start at [AppSpec], [Release], [Deployment] and [Task].
package api
