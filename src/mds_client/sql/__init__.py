"""All SQL statements that the client sends, each with its purpose.

Statements are composed from the declarations, with quoted identifiers, and always name the schema: nothing depends on
the session's search_path. Values are parameters; arrays are sent in binary (`%b`), because in text psycopg would scan
every element for characters to escape. `mds_client.reading` and `mds_client.writing` decide when to send a statement.

The statements are in three modules; other code imports them from here.
"""

from mds_client.sql.basis import *  # noqa: F403 - a list of the names would be a second one
from mds_client.sql.reads import *  # noqa: F403
from mds_client.sql.writes import *  # noqa: F403
