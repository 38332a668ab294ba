// Package policy is what a route does with its requests besides passing them on: which it takes, which it answers
// itself (redirect, maintenance page, rate limit, basic auth, body limit), how it rewrites their target, and how it
// keeps clients with their task and compresses answers.
//
// It owns these decisions and the little state that they need: rate limits' counters, which passwords have been
// checked, compressors to use again. All of it is bounded. It never touches a connection, never starts a goroutine,
// and never knows targets or tables: the balancer asks, and does what the answers say.
//
// # Paths
//
// Several ways of writing reach one file on a server, so a path that is compared as it was sent would let a request
// past the route that guards it. [MatchPath] gives the one form that routes are matched by: escapes decoded, dot
// segments resolved (RFC 3986, section 5.2.4), slashes in a row made one. What is sent on is as the client wrote it,
// with one exception: where there were dot segments, they are resolved there too ([Policy.AppendTarget]), so that no
// target can resolve them to a place that was not matched. By example:
//
//	/public/../admin     is matched as /admin, never as /public, and sent on as /admin
//	/public/%2e%2E/admin likewise
//	//admin              is matched as /admin and sent on as it is
//	/a%2Fb               is matched as /a/b and sent on as it is
//	/public%2F..%2Fadmin is refused: an encoded slash beside a dot segment means different places to different servers
//	/public/..;/admin    is refused: some servers drop what follows the semicolon and then resolve the dots
//	/%zz, /%00           are refused
//
// A rewrite replaces the route's path in the path as it was sent, however that was written, and keeps the escapes of
// the rest: the route /a/b with the rewrite /c turns /a%2Fb/x%2Fy into /c/x%2Fy.
//
// All exported functions and methods are safe for concurrent use, but for an [Encoder], which is for one goroutine.
// Start reading at [Policy], then [Policy.Admit].
package policy
