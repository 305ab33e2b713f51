"""`dev/sbom`: what the binary and the image are made of (CycloneDX), and how they came about (SLSA provenance).

`parts` reads what cargo resolved into components; `statement` says how a file was built; `cli` reads the command line.
"""
