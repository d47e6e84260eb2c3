"""The OpenAI HTTP interface of a service: its routes, its limits, its errors (docs/serve.md).

Nothing of the server's own libraries (fastapi, starlette, pydantic, uvicorn) is used outside this package.
"""
