// Package shimlog keeps the output of one container in a directory: the shim writes it with [Writer], anybody reads it
// with [Open], also while it is written and after the container is gone.
//
// The directory holds numbered files, 000001.log and so on. The writer starts the next one when the current is full
// and removes the oldest: a file is never renamed, so a reader that has come to the end of one goes on with the next.
// A file has one record a line in the format of Kubernetes' CRI logs, which log shippers know:
//
//	2026-11-22T10:00:00.000000001Z stdout F text
//
// with P in place of F when the line of output goes on in the stream's next record. A record is whole once its newline
// is there; a reader never gives half a record. A file named "closed" says that no more will come.
//
// A Writer is safe for concurrent use, a Reader is not. The package knows nothing of containers. Start at
// [Writer] and [Reader].
package shimlog
