// Package cli is the command line: it reads flags, the environment and the working directory's app, calls a server
// through package client, and prints what comes back, for people or as JSON.
//
// It decides nothing that the server should decide, and it never imports the daemon: what `ikada up` and its like do
// comes in as functions ([Daemon]). Progress is live on a terminal and plain lines elsewhere. One command stands in
// one file. A run is not safe for concurrent use with another on the same writers. Start at [Run].
//
// Exit codes are a contract: 0 done; 1 error; 2 usage; 3 rolled back; 4 cancelled or superseded; 5 timed out. Exec
// passes on the exit code of the command it ran.
package cli
