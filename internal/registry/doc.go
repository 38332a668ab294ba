// Package registry owns the OCI registry at /v2/: the HTTP side of pushing, pulling, listing and deleting images, as
// the OCI distribution specification 1.1 has it (https://github.com/opencontainers/distribution-spec).
//
// It keeps no blob, no database and no file of its own. Blobs and manifests lie in the runtime's content store, so
// there is one copy on disk of what is pushed, built, pulled and run; a manifest is an entry of the runtime's image
// store, named ikada.local/REPOSITORY:TAG or ikada.local/REPOSITORY@DIGEST, and thereby a root of the runtime's garbage
// collection; an upload under way is a lease with an expiry and an ingest; a blob that was pushed and that no manifest
// names yet is a lease with an expiry too. Whatever else writes an image of such a name (the builder does) has thereby
// published it.
//
// A repository shows the manifests that its image entries name, what these name in turn, and the blobs pushed or
// mounted into it less than [Config.Grace] ago; nothing else, even if the content store holds it. A manifest that no tag,
// index, subject or release leads to any more goes when the house-keeper calls [Registry.RemoveUntagged].
//
// It never checks credentials itself beyond calling [Config.Auth], never unpacks an image, and never removes content:
// it drops roots and leases, and the runtime's collector does the rest.
//
// A [Registry] is safe for concurrent use. Start at [New], [Registry.ServeHTTP] and [Registry.Run].
package registry
