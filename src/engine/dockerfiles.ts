/**
 * Dockerfiles of one build: reads them and their contexts, and answers what the frontend asks of the outside. What came from
 * elsewhere lies below the engine's scratch directory until the build is over.
 */
