"""The tools and pages in the protocol's own words, by its official package (`pip install 'polylens[mcp]'`)."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import mcp_types
import orjson
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server as ProtocolServer
from mcp.shared.exceptions import MCPError

from polylens import __version__
from polylens.errors import InputError, NotFoundError, PolylensError
from polylens.server.http.wire import to_json
from polylens.server.mcp.tools import Answer, Call, Picture, Tool, Tools

log = logging.getLogger("polylens.server")

Context = ServerRequestContext[Any, Any]
CallOf = Callable[[Context], AbstractContextManager[Call]]

UNEXPECTED = "An unexpected error occurred."

TEMPLATE_NOTE = (
    "A page of a file: its text, and its picture where it has one. The file's path is percent-encoded; pages are "
    "counted from 1."
)


class Protocol:
    """Answers the messages of assistants.

    Args:
        tools: What they can call and read.
        call_of: Opens the call that a message belongs to.
    """

    def __init__(self, tools: Tools, call_of: CallOf) -> None:
        self._tools = tools
        self._call_of = call_of

    def server(self) -> ProtocolServer[Any]:
        """The package's server, for any of its transports."""
        return ProtocolServer(
            "polylens",
            version=__version__,
            title=f"polylens: {self._tools.label}",
            instructions=(
                f"Searches the documents, pictures and texts in {self._tools.name}. Call search first; then open_page "
                "to read a page and to look at it. Name the file and the page of what you quote."
            ),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )

    async def _list_tools(
        self, _context: Context, _params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[_listed(tool) for tool in self._tools.all])

    async def _call_tool(self, context: Context, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        tool = self._tools.find(params.name)
        if tool is None:
            names = ", ".join(each.name for each in self._tools.all)
            raise MCPError(mcp_types.INVALID_PARAMS, f"there is no tool {params.name[:100]!r}; there are {names}")
        try:
            with self._call_of(context) as call:
                return _result(await self._tools.call(tool, params.arguments or {}, call))
        except PolylensError as error:  # the assistant reads it and can do better
            return _failed(str(error))
        except Exception:  # a defect of ours: the log gets the details, the assistant none of them
            log.exception("the tool %s failed", tool.name)
            return _failed(UNEXPECTED)

    async def _list_resources(
        self, _context: Context, params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListResourcesResult:
        cursor = params.cursor if params is not None else None
        try:
            pages, following = await self._tools.pages(cursor)
        except PolylensError as error:
            raise _protocol_error(error, cursor) from error
        found = [
            mcp_types.Resource(uri=self._tools.address(place), name=f"{place.file}, page {place.page}")
            for place in pages
        ]
        return mcp_types.ListResourcesResult(resources=found, next_cursor=following)

    async def _list_templates(
        self, _context: Context, _params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListResourceTemplatesResult:
        template = mcp_types.ResourceTemplate(
            uri_template=self._tools.template, name="page", title="A page of the library", description=TEMPLATE_NOTE
        )
        return mcp_types.ListResourceTemplatesResult(resource_templates=[template])

    async def _read_resource(
        self, _context: Context, params: mcp_types.ReadResourceRequestParams
    ) -> mcp_types.ReadResourceResult:
        address = str(params.uri)
        try:
            parts = await self._tools.read(address)
        except PolylensError as error:
            raise _protocol_error(error, address) from error
        return mcp_types.ReadResourceResult(contents=[_content(address, part) for part in parts])


def _listed(tool: Tool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.arguments.__doc__,
        input_schema=tool.arguments.model_json_schema(),
        output_schema=tool.output,
        annotations=mcp_types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )


def _result(answer: Answer) -> mcp_types.CallToolResult:
    """The answer. Its value stands in its text as well, for clients that show no values to their assistant."""
    value = answer.value
    if value is None:
        return mcp_types.CallToolResult(content=[_block(part) for part in answer.parts])
    written = to_json(value)
    return mcp_types.CallToolResult(content=[_block(written.decode())], structured_content=orjson.loads(written))


def _failed(message: str) -> mcp_types.CallToolResult:
    return mcp_types.CallToolResult(content=[_block(message)], is_error=True)


def _block(part: str | Picture) -> mcp_types.TextContent | mcp_types.ImageContent:
    if isinstance(part, Picture):
        return mcp_types.ImageContent(data=base64.b64encode(part.data).decode(), mime_type=part.media_type)
    return mcp_types.TextContent(text=part)


def _content(address: str, part: str | Picture) -> mcp_types.TextResourceContents | mcp_types.BlobResourceContents:
    if isinstance(part, Picture):
        data = base64.b64encode(part.data).decode()
        return mcp_types.BlobResourceContents(uri=address, blob=data, mime_type=part.media_type)
    return mcp_types.TextResourceContents(uri=address, text=part, mime_type="text/plain")


def _protocol_error(error: PolylensError, about: str | None) -> MCPError:
    """The error of a message that is no call of a tool: the assistant's fault where the page or cursor is unknown."""
    is_theirs = isinstance(error, (InputError, NotFoundError))
    code = mcp_types.INVALID_PARAMS if is_theirs else mcp_types.INTERNAL_ERROR
    return MCPError(code, str(error), data={"uri": about})
