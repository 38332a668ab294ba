package api

// RegistryHost is the host in the names of the images that this cluster keeps itself, built by it or pushed to its
// registry: ikada.local/REPOSITORY:TAG and ikada.local/REPOSITORY@DIGEST. Nothing resolves it; users reach the registry
// under the address of a node.
const RegistryHost = "ikada.local"
